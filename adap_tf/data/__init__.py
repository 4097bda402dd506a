"""From data sources to batches: sources, splits, sampler, pipeline."""

from adap_tf.data.augmentations import AUGMENTATIONS as AUGMENTATIONS
from adap_tf.data.augmentations import Augmentation as Augmentation
from adap_tf.data.augmentations import CropAndFlip as CropAndFlip
from adap_tf.data.examples import Examples as Examples
from adap_tf.data.pipeline import batches as batches
from adap_tf.data.pipeline import training_batches as training_batches
from adap_tf.data.pipeline import with_rows as with_rows
from adap_tf.data.sampler import SAMPLINGS as SAMPLINGS
from adap_tf.data.sampler import Sampler as Sampler
from adap_tf.data.sources import Source as Source
