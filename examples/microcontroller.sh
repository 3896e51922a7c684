#!/usr/bin/env bash
# An image classifier for a microcontroller: searched inside its RAM and flash, trained, an int8 .tflite, and what an NPU's compiler says of it.
#
#   examples/microcontroller.sh OUT [options of search and train, such as --data photos/ --channels 1; or --quick]
#
# Run it from the checkout, in an environment with: pip install -e '.[litert,tflite-micro]', and the extra vela for the last step.
set -euo pipefail
out=$1
shift

# int8 latency of a Cortex-M7 is estimated from published times; 64 KiB of RAM for activations and 256 KiB of flash for weights are never exceeded
supernet search --space sensor32-grey --device cortex-m7 --max-sram-kb 64 --max-flash-kb 256 "$@" --out "$out/search"

# the report tells the file's flash and RAM, as tflite-micro plans it, and what int8 costs each group
supernet train --arch "$out/search" --export litert-int8 "$@" --out "$out/train"

# an Ethos-U55 beside the microcontroller: cycles and memory by its own compiler
if command -v vela > /dev/null; then
    vela "$out/train/model-int8.tflite" --accelerator-config ethos-u55-128 --output-dir "$out/vela"
fi
echo "Open $out/train/report.html; $out/train/model-int8.tflite goes to the device."
