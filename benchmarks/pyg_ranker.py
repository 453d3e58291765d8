"""The ranker's net as one writes it in PyG: what ours must equal, and what it is timed against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch
from torch_geometric.nn import GATv2Conv, global_mean_pool

from sdsearch.ranker import CATEGORICAL, CONTINUOUS, FeatureLayout, to_data
from sdsearch.unet import build_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.ranker import Ranker
    from sdsearch.unet import Architecture, Backbone


class PygRanker(nn.Module):
    """Feature scalars, GATv2 layers with typed edges, batch norm, residuals, mean pool, head."""

    def __init__(self, sizes: Sequence[int], hops: int, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, 1) for size in sizes])
        self.weight = nn.Parameter(torch.randn(len(CONTINUOUS)))
        self.bias = nn.Parameter(torch.randn(len(CONTINUOUS)))
        inputs = [len(CATEGORICAL) + len(CONTINUOUS)] + [width] * (hops - 1)
        self.convs = nn.ModuleList(
            [GATv2Conv(size, width, edge_dim=3, add_self_loops=False) for size in inputs]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in inputs])
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, 1)

    @classmethod
    def of_member(cls, ranker: Ranker, member: int) -> Self:
        """The same net with the weights of one member of an ensemble, in evaluation mode."""
        features, layers, head = ranker.features, list(ranker.layers), ranker.head
        width = layers[0].source.shape[2]
        net = cls([len(table) for table in features.tables], len(layers), width)
        with torch.no_grad():
            for mine, theirs in zip(net.tables, features.tables, strict=True):
                mine.weight.copy_(theirs[:, member, None])
            net.weight.copy_(features.weight[:, member])
            net.bias.copy_(features.bias[:, member])
            for conv, norm, layer in zip(net.convs, net.norms, layers, strict=True):
                conv.lin_l.weight.copy_(layer.source[member].T)
                conv.lin_l.bias.copy_(layer.source_bias[member])
                conv.lin_r.weight.copy_(layer.target[member].T)
                conv.lin_r.bias.copy_(layer.target_bias[member])
                conv.lin_edge.weight.copy_(layer.edge[:, member].T)
                conv.att.copy_(layer.attention[member][None, None])
                conv.bias.copy_(layer.bias[member])
                norm.weight.copy_(layer.scale[member])
                norm.bias.copy_(layer.shift[member])
                norm.running_mean.copy_(layer.mean[member])
                norm.running_var.copy_(layer.variance[member])
            net.hidden.weight.copy_(head.hidden[member].T)
            net.hidden.bias.copy_(head.hidden_bias[member])
            net.out.weight.copy_(head.out[member][None])
            net.out.bias.copy_(head.out_bias[member, None])
        return net.eval()

    def forward(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Node embeddings of all hops, and one prediction a graph."""
        width = len(CATEGORICAL)
        ids, values = batch.x[:, :width].long(), batch.x[:, width:]
        looked = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        hops = [torch.cat([*looked, values * self.weight + self.bias], 1).abs()]
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = functional.relu(norm(conv(hops[-1], batch.edge_index, batch.edge_attr)))
            hops.append(x + hops[-1] if number else x)
        pooled = global_mean_pool(hops[-1], batch.batch)
        return hops, self.out(functional.relu(self.hidden(pooled)))[:, 0]


def batch_of(archs: Sequence[Architecture], backbone: Backbone, layout: FeatureLayout) -> Batch:
    """Architectures as one PyG batch."""
    return Batch.from_data_list([to_data(build_graph(arch, backbone), layout) for arch in archs])
