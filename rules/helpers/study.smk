# Inputs and params of the rules in study.smk.


def code_of_methods(script, path):
    """As `code`, for a job that uses all calibration methods of a setting."""

    def value(wildcards):
        methods = [f"calibration.methods.{method}" for method in setting(path)(wildcards)]
        # In the study the wildcard `measure` overrides the experiment's setting.
        return code(
            script, "records.uncertainty.{measure}", "calibration.methods.percentile", *methods
        )(wildcards)

    return value


def study_settings(wildcards):
    """Settings of a study's job, without those of other jobs: each measure has its own job."""
    return {
        k: v
        for k, v in experiment(wildcards)["study"].items()
        if k not in ("measures", "temperatures", "sizes")
    }


def studied(wildcards):
    """Tables of the study, one for each measure with and without temperatures."""
    own = experiment(wildcards)
    pattern = "results/{{experiment}}/study/{measure}_{scaling}.csv"
    if not has_logits(wildcards.experiment):
        # Without logits only the recorded measure can be compared.
        recorded = [measure for measure in own["measure"] if measure in RECORDED]
        return expand(pattern, measure=recorded[:1] or "entropy", scaling="plain")
    scaling = ["plain", "scaled"] if own["study"]["temperatures"] else ["plain"]
    return expand(pattern, measure=own["study"]["measures"], scaling=scaling)
