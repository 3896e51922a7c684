"""Run me on the device: `python run.py --device my-board --out my-board.json`, or `python run.py --help`."""

from pathlib import Path

from latency_luts.runner import main

if __name__ == "__main__":
    main(folder=Path(__file__).resolve().parent)
