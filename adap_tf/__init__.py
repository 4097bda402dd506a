"""Training networks whose average precision survives adversarial perturbation, in TensorFlow and Keras."""

from adap_tf import data as data
from adap_tf.adversary import Reach as Reach
from adap_tf.attacks import APGD as APGD
from adap_tf.attacks import FGSM as FGSM
from adap_tf.attacks import PGD as PGD
from adap_tf.attacks import Square as Square
from adap_tf.backbones import BACKBONES as BACKBONES
from adap_tf.budget import budget_curve as budget_curve
from adap_tf.diagnosis import doubts as doubts
from adap_tf.evaluation import PGD10 as PGD10
from adap_tf.evaluation import Evaluator as Evaluator
from adap_tf.evaluation import Threat as Threat
from adap_tf.exact import ExactAveragePrecision as ExactAveragePrecision
from adap_tf.export import export_saved_model as export_saved_model
from adap_tf.methods import METHODS as METHODS
from adap_tf.methods import Method as Method
from adap_tf.metrics import average_precision as average_precision
from adap_tf.metrics import mean_average_precision as mean_average_precision
from adap_tf.model import AdversarialModel as AdversarialModel
from adap_tf.resampling import bootstrap as bootstrap
from adap_tf.terms import AveragePrecision as AveragePrecision
from adap_tf.terms import CrossEntropy as CrossEntropy
from adap_tf.terms import Listwise as Listwise
from adap_tf.terms import MisclassificationWeightedKL as MisclassificationWeightedKL
from adap_tf.terms import PointwiseDivergence as PointwiseDivergence
