"""A policy with the method and target that it was calibrated for."""

from __future__ import annotations

from typing import Any

from early_exit.calibration.targets import Target, label
from early_exit.policy.policy import Policy


class CalibratedPolicy(Policy):
    """A :class:`Policy` with its method, target and certificate, which equality ignores.

    Attributes
    ----------
    method
        The calibration method, such as ``"coordinate"``.
    target
        The target: its ``kind`` (``"accuracy"``, ``"drop"``, ``"macs"`` ...), ``value`` and
        ``delta``.
    certificate
        The certificate of a method with a guarantee: ``loss``, ``bound``, ``delta``, ``samples``,
        ``p_value``, ``p_value_stopped``. ``None`` if the method gives none, or could certify no
        policy; in the second case the policy is the full network.
    """

    method: str | None = None
    target: Target | None = None
    certificate: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, policy: Policy, method: str, target: Target, certificate: dict[str, Any] | None
    ) -> CalibratedPolicy:
        """``policy`` with its method, target and certificate."""
        own = cls(**{name: getattr(policy, name) for name in Policy.__dataclass_fields__})
        # Not fields: a policy derived from this one must not inherit the certificate.
        for name, value in (("method", method), ("target", target), ("certificate", certificate)):
            object.__setattr__(own, name, value)
        return own

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return all(getattr(self, n) == getattr(other, n) for n in Policy.__dataclass_fields__)

    __hash__ = Policy.__hash__

    def _saved(self) -> dict[str, Any]:
        target = self.target and {self.target.kind: self.target.value}
        return super()._saved() | {
            "method": self.method,
            "target": target,
            "certificate": self.certificate,
        }

    def __repr__(self) -> str:
        own = self.to_json()
        shown = [t if isinstance(t, str) else f"{t:.4g}" for t in own["thresholds"]]
        lines = [f"Policy: exit where {own['measure']} is {own['exit_rule']} {', '.join(shown)}"]
        if own["temperatures"]:
            lines.append("  logits divided by the exits' fitted temperatures")
        if self.method is not None and self.target is not None:
            target = label(self.target.kind, self.target.value)
            kind = "accuracy " if self.target.kind == "accuracy" else ""
            lines.append(f"  {self.method} for {kind}{target}")
        lines += [f"  {line}" for line in self._certified()]
        return "\n".join(lines)

    def _certified(self) -> list[str]:
        if self.certificate is None:
            return []
        loss, bound, delta = (self.certificate[key] for key in ("loss", "bound", "delta"))
        return [f"certified: {loss} at most {bound:g} on new samples (delta {delta:g})"]
