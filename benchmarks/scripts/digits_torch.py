"""Digits with PyTorch."""

import json
import sys

import torch
from torch import nn

from benchmarks.scripts.files import digits

torch.manual_seed(0)
x, labels, test_x, test_labels = map(torch.from_numpy, digits())
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
for _ in range(30):
    for rows in torch.split(torch.randperm(len(x)), 32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), labels[rows]).backward()
        optimizer.step()
with torch.no_grad():
    print(json.dumps({"accuracy": float((model(test_x).argmax(1) == test_labels).float().mean())}))
torch.save(model.state_dict(), sys.argv[1])
