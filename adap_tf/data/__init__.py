"""From data sources to batches: sources, splits, sampler, pipeline."""

from adap_tf.data.augmentations import AUGMENTATIONS as AUGMENTATIONS
from adap_tf.data.augmentations import AffineAndFlip as AffineAndFlip
from adap_tf.data.augmentations import Augmentation as Augmentation
from adap_tf.data.augmentations import CropAndFlip as CropAndFlip
from adap_tf.data.augmentations import ResizedCrop as ResizedCrop
from adap_tf.data.examples import Examples as Examples
from adap_tf.data.images import Array as Array
from adap_tf.data.images import Images as Images
from adap_tf.data.images import StoredImages as StoredImages
from adap_tf.data.images import read_ahead as read_ahead
from adap_tf.data.images import same_images as same_images
from adap_tf.data.pipeline import batches as batches
from adap_tf.data.pipeline import training_batches as training_batches
from adap_tf.data.pipeline import with_rows as with_rows
from adap_tf.data.problems import DataError as DataError
from adap_tf.data.problems import Problems as Problems
from adap_tf.data.sampler import SAMPLINGS as SAMPLINGS
from adap_tf.data.sampler import Sampler as Sampler
from adap_tf.data.sources import Features as Features
from adap_tf.data.sources import Parts as Parts
from adap_tf.data.sources import Source as Source
