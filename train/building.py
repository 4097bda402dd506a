"""What a config stands for: batches and model."""

from pathlib import Path

import keras

from adap_tf import AdversarialModel
from adap_tf.backbones import find_backbone, take_trunk
from adap_tf.data import Sampler
from train.config import OPTIMIZERS, PRECISIONS, Config
from train.errors import UsageError, reason
from train.networks import load_network
from train.run_folder import RunFolder
from train.sources import Splits


def make_sampler(config: Config, splits: Splits, replicas: int = 1) -> Sampler:
    """The batches of a run.

    Raises:
        UsageError: the batch does not fit the data or the replicas.
    """
    if config.batch_size % replicas:
        raise UsageError(f"--batch-size: {config.batch_size} cannot be divided among {replicas} replicas")
    asked = None
    if config.sampled_by != "shuffle":
        asked = config.positives_per_batch or max(config.batch_size // 2, 1)
    if config.batch_size > len(splits.train):
        raise UsageError(
            f"--batch-size: {config.batch_size} is more than the {len(splits.train)} training examples of {config.data}"
        )
    try:
        sampler = Sampler(splits.train.label, config.batch_size, asked, config.seed, config.sampled_by == "separate")
    except ValueError as error:
        raise UsageError(f"--positives-per-batch: {error}") from None
    if asked not in (None, sampler.positives_per_batch):
        print(f"note: {asked} positives a batch asked for; with this data a batch holds {sampler.positives_per_batch}")
    return sampler


def make_model(config: Config, splits: Splits, steps: int) -> AdversarialModel:
    """Network, method and optimizer of a run; call it in the strategy's scope.

    Raises:
        UsageError: the network does not take such images, or there is none to start from.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    shape = splits.train.image.shape[1:]
    backbone = config.backbone or ("small_cnn" if len(shape) == 3 else "mlp")
    try:
        network = find_backbone(backbone)(shape, len(splits.tasks))
    except (ValueError, IndexError) as error:
        raise UsageError(f"--backbone: {backbone}: not for examples of shape {shape}: {error}") from None
    finally:
        keras.config.set_dtype_policy("float32")
    if config.init_from is not None:
        _start_from(Path(config.init_from), network)
    model = AdversarialModel(
        network,
        config.method,
        splits.train.positives,
        examples=splits.train.known,
        attack=config.training_attack,
        threat=config.threat,
        reach=splits.reach,
        l2=config.weight_decay,
        seed=config.seed,
        skip_nonfinite=config.skip_nonfinite,
        **config.hyperparameters,
    )
    rates = [config.learning_rate * share for share in (1, 0.1, 0.01)]
    drops = [steps // 2 - 1, 3 * steps // 4 - 1]  # Keras changes the rate after the step of that number
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)
    options = {"epsilon": 1e-8} if config.optimizer == "adam" else {}  # the paper's
    model.compile(OPTIMIZERS[config.optimizer](schedule, **options))
    return model


def _start_from(path: Path, network: keras.Model) -> None:
    """Gives the network the trunk of one that a run has trained."""
    file = path if path.suffix == ".keras" else RunFolder(path).best
    if not file.is_file():
        raise UsageError(f"--init-from: {path} holds no trained network; it takes a run folder or a .keras file")
    try:
        take_trunk(network, load_network(file))
    except Exception as error:  # of many types, for a file that is damaged or another network's
        raise UsageError(f"--init-from: {file}: {reason(error)}") from None
