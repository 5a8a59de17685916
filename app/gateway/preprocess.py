"""From pixels to the tensor that a model was trained with, the same as Keras' bit for bit.

The resize is not here: ``decode`` picks the pixels as ``keras.utils.load_img`` does, while it has them at hand. In a
worker thread: ``to_tensor(decode(data, size=spec.size, channels=spec.channels, max_pixels=...), spec)``.
"""

import numpy as np
from numpy.typing import NDArray

from app.gateway.routing import Input, Scaling

IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""From ``keras.applications.imagenet_utils``, mode "caffe"."""


def to_tensor(pixels: NDArray[np.uint8], spec: Input) -> NDArray[np.float32]:
    """Scale pixels of shape (height, width, channels) as ``spec`` says; returns a new C-contiguous array of that shape.

    Every operation is the float32 one of Keras, in its order: a multiplication by 1/127.5 would differ in the last bit.
    """
    if spec.scaling is Scaling.CAFFE:
        tensor = np.empty(pixels.shape, np.float32)
        for channel, mean in enumerate(IMAGENET_MEANS_BGR):
            np.subtract(pixels[..., 2 - channel], np.float32(mean), out=tensor[..., channel])
        return tensor
    tensor = pixels.astype(np.float32, order="C")
    match spec.scaling:
        case Scaling.XCEPTION:
            tensor /= np.float32(127.5)
            tensor -= np.float32(1)
        case Scaling.UNIT:
            tensor /= np.float32(255)
        case Scaling.NONE:
            pass
    return tensor
