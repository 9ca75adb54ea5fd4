"""Versions: which of them are served, and whether each has its file."""

from __future__ import annotations

from typing import Any

from torchport.repository._folder import Model, Notes

__all__ = ["check_versions"]


def check_versions(notes: Notes, model: Model) -> None:
    """Finds the versions that are served; every one has to hold its model's file."""
    if not model.versions:
        notes.say("versions/none", model, "there is no version's folder", file=model.path, expected="a folder 1")
        return
    model.served = _served(notes, model)
    if not model.served:
        notes.say(
            "versions/selects-none",
            model,
            "the version policy selects nothing",
            at=("version_policy", 0),
            found="none" if model.config is None else _said(model.message.version_policy),
            expected=_listed(model.versions),
        )


def _served(notes: Notes, model: Model) -> tuple[int, ...]:
    policy = model.message.version_policy if model.config is not None else None
    choice = policy.WhichOneof("choice") if policy is not None else None
    if policy is None or choice is None:
        return model.versions[-1:]
    if choice == "all":
        return model.versions
    if choice == "latest":
        return model.versions[-policy.latest.num_versions :] if policy.latest.num_versions else ()
    wanted = set(policy.specific.versions)
    if (missing := sorted(wanted - set(model.versions))) and wanted & set(model.versions):
        notes.say(
            "versions/missing",
            model,
            "the version policy names a version that is not there",
            at=("version_policy", 0, "specific", 0, "versions"),
            found=_listed(missing),
            expected=_listed(model.versions),
        )
    return tuple(version for version in model.versions if version in wanted)


def _said(policy: Any) -> str:
    return "num_versions: 0" if policy.HasField("latest") else _listed(policy.specific.versions)


def _listed(versions: object) -> str:
    return ", ".join(str(version) for version in versions) or "none"  # type: ignore[attr-defined]
