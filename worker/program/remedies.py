"""The lines of Python that make a file which Secateur reads; they go into the `remedy` of errors."""

from __future__ import annotations

EXPORT = """\
model.eval()
batch = torch.export.Dim("batch", min=1, max=1024)
program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))  # one {0: batch} for each input
torch.export.save(program, "model.pt2")"""

FLAT = f"""\
class Flat(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):  # plain tensors in; a tensor, tuple or dict out
        return self.model(x)

model = Flat(model)
{EXPORT}"""

WEIGHTS = f"""\
model = MyModel()  # your class
model.load_state_dict(torch.load("weights.pt", weights_only=True))
{EXPORT}"""
