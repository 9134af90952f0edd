"""What plugins build nets and executions from. Imports torch, so `paraformer_bench` does not.

The reference nets' own parts, for a net that is to be compared with them, and the branches that an
execution finds and runs in its own way, with `Ranks` on several devices. Shapes and formulas are
said at each of them.
"""

from paraformer_bench.executions._branches import Forward, Make, run_branches
from paraformer_bench.executions._ranks import Ranks
from paraformer_bench.models._blocks import Attention, Block, LayerNorm, Linear, Mlp, Net
from paraformer_bench.models._branches import Branches, EachBranch, SumOfBranches

__all__ = [
    "Attention",
    "Block",
    "Branches",
    "EachBranch",
    "Forward",
    "LayerNorm",
    "Linear",
    "Make",
    "Mlp",
    "Net",
    "Ranks",
    "SumOfBranches",
    "run_branches",
]
