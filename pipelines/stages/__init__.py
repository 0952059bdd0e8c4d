"""The stages of the engine: one file each, called by DAG tasks and CLI commands alike."""
