"""FOLDER: adds pictures of kinds that Pillow writes to FOLDER/images, then preprocesses every picture there as LLaVA does (convert('RGB'),
expand2square or not, shorter edge to 20 with bicubic resampling, centre crop, CLIP's normalisation) and writes FOLDER/NAME.square and,
unless that square would be large, FOLDER/NAME.pad: float32, channel-major."""
import os
import sys

import numpy
from PIL import Image

EDGE = 20
MEAN = numpy.array([0.48145466, 0.4578275, 0.40821073], dtype=numpy.float32)
STD = numpy.array([0.26862954, 0.26130258, 0.27577711], dtype=numpy.float32)
folder = sys.argv[1]
images = folder + "/images"


def noise(width, height, channels):
    values = numpy.random.default_rng(width * 7 + height).integers(0, 256, (height, width, channels), dtype=numpy.uint8)
    return values[:, :, 0] if channels == 1 else values


def make():
    color = Image.fromarray(noise(61, 47, 3))
    color.save(images + "/rgb.png")
    color.save(images + "/color.jpg", quality=90)
    color.save(images + "/progressive.jpg", progressive=True)
    color.convert("CMYK").save(images + "/cmyk.jpg")
    color.convert("L").save(images + "/gray.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    color.save(images + "/turned.jpg", exif=exif)
    color.save(images + "/turned.png", exif=exif)
    color.convert("L").save(images + "/gray.png")
    color.convert("1").save(images + "/bits.png")
    color.quantize(9).save(images + "/palette.png")
    color.quantize(9).save(images + "/palette_clear.png", transparency=3)
    Image.fromarray(noise(30, 50, 4)).save(images + "/alpha.png")
    Image.fromarray(noise(30, 50, 2)).save(images + "/gray_alpha.png")
    Image.fromarray(noise(64, 3, 3)[:, :, 0].astype(numpy.uint16) * 400).save(images + "/gray16.png")
    Image.fromarray(noise(1, 1, 3)).save(images + "/one.png")
    Image.fromarray(noise(2, 1, 3)).save(images + "/two.png")
    Image.fromarray(noise(20000, 6, 3)).save(images + "/wide.png")
    Image.fromarray(noise(20000, 4, 3)).save(images + "/wide.jpg")
    Image.fromarray(noise(3, 5000, 3)).save(images + "/tall.png")


def square(image):
    width, height = image.size
    edge = max(width, height)
    out = Image.new("RGB", (edge, edge), tuple(int(m * 255) for m in MEAN.astype(float)))
    out.paste(image, ((edge - width) // 2, (edge - height) // 2))
    return out


def preprocess(image):
    width, height = image.size
    long = int(EDGE * max(width, height) / min(width, height))
    image = image.resize((EDGE, long) if width <= height else (long, EDGE), resample=Image.Resampling.BICUBIC)
    left, top = (image.size[0] - EDGE) // 2, (image.size[1] - EDGE) // 2
    pixels = numpy.asarray(image)[top:top + EDGE, left:left + EDGE]
    scaled = (pixels * (1 / 255)).astype(numpy.float32)
    return ((scaled - MEAN) / STD).transpose(2, 0, 1)


make()
for name in os.listdir(images):
    image = Image.open(images + "/" + name).convert("RGB")
    preprocess(image).tofile(folder + "/" + name + ".square")
    if max(image.size) <= 5000:
        preprocess(square(image)).tofile(folder + "/" + name + ".pad")
