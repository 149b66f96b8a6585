"""Output layers, each with its loss: a file a kind."""

from seqloom.layers.outputs.adaptive import Adaptive as Adaptive
from seqloom.layers.outputs.base import Output as Output
from seqloom.layers.outputs.base import OutputRecipe as OutputRecipe
from seqloom.layers.outputs.base import SequenceOutput as SequenceOutput
from seqloom.layers.outputs.base import TokenLoss as TokenLoss
from seqloom.layers.outputs.categorical import Categorical as Categorical
from seqloom.layers.outputs.crf import CRF as CRF
from seqloom.layers.outputs.ctc import CTC as CTC
from seqloom.layers.outputs.features import Bernoulli as Bernoulli
from seqloom.layers.outputs.features import Gaussian as Gaussian
from seqloom.layers.outputs.features import Quantile as Quantile
from seqloom.layers.outputs.features import Squared as Squared
from seqloom.layers.outputs.mixture import Mixture as Mixture
