"""The kind of arrays that sketches, embeddings and encoders are."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
