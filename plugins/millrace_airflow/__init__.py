"""Millrace's adapter to Airflow: what DAG files share. No logic of the engine; heavy imports happen inside functions."""
