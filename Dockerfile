# The project with all it needs to run, without a GPU. For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
#   docker build --tag us-diffusion .
#   docker run --rm -it --init --volume "$PWD:/project" --user "$(id -u):$(id -g)" us-diffusion dvc repro
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# HOME and USER: with --user, Docker gives neither a home that can be written nor the name that DVC asks for
ENV DVC_NO_ANALYTICS=1 \
    DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false \
    HOME=/tmp \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PIP_NO_CACHE_DIR=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PYTHONPATH=/project \
    USER=usd

# git for DVC; the OpenGL library is what pybullet's renderer loads
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgl1 \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /project

WORKDIR /project
COPY constraints.txt ./
RUN python -m pip install --constraint constraints.txt --extra-index-url "$TORCH_INDEX" torch \
    && python -m pip install --no-deps --requirement constraints.txt

# the project without its code: its version, and the command `usd`
COPY pyproject.toml README.md LICENSE ./
RUN python -m pip install --no-deps --no-build-isolation . \
    && python -m pip check

# the code itself is mounted, so that DVC finds its cache and git its history
CMD ["dvc", "repro"]
