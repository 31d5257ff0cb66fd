"""Data sets: what jobs train, choose and report on."""

from __future__ import annotations

from fastapi import APIRouter

from app.dependencies import DatasetPath, StoreDep
from app.examples import DATASET, answers, page
from app.pages import DEFAULT_LIMIT, After, Limit
from app.uploads import BODY, DeliveryDep
from secateur.resources import Dataset, Model, Page, Upload

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    operation_id="create_dataset",
    openapi_extra=BODY,
    responses=answers(201, "Stored; the inspection begins. Location names the record.", DATASET),
)
async def create_dataset(delivery: DeliveryDep) -> Upload:
    """Upload a safetensors or npz file: `curl -X POST -T train.safetensors 'URL/v1/datasets?name=train'`."""
    return await delivery.receive("dataset", delivery.settings.max_dataset_bytes)


@router.get(
    "",
    response_model=Page[Dataset],
    operation_id="list_datasets",
    responses=answers(200, "The newest first.", page(DATASET)),
)
def list_datasets(store: StoreDep, after: After = None, limit: Limit = DEFAULT_LIMIT) -> Page[Model | Dataset]:
    """All data sets, page by page."""
    return store.uploads.list("dataset", after, limit)


@router.get(
    "/{id}",
    response_model=Dataset,
    operation_id="get_dataset",
    responses=answers(200, "As it stands now.", DATASET),
)
def get_dataset(id: DatasetPath, store: StoreDep) -> Upload:
    """State, format and digest of a data set; what the inspection found in it, or why it was rejected."""
    return store.uploads.get(id)


@router.delete("/{id}", status_code=204, operation_id="delete_dataset")
def delete_dataset(id: DatasetPath, store: StoreDep) -> None:
    """Delete a data set; refused (409) while a job that has not ended uses it."""
    store.uploads.delete(id)
