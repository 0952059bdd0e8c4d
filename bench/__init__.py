"""One file per published figure; `python -m bench NAME [--quick] [--seed N]`.

A bench module has `run(options) -> Result`. Floors decide the exit code; goals are reported. A floor whose figure was not
measured fails, unless the bench says that `--quick` leaves it out.
"""
