"""Prefect flows over the DAG of dvc.yaml.

DVC decides whether a stage runs; Prefect decides when, retries, limits the GPU and shows. No stage knows of Prefect,
and `dvc repro` does without it.
"""
