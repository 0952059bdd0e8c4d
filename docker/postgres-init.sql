-- Airflow's metadata beside the corpus, in a database of its own.
CREATE DATABASE airflow;
