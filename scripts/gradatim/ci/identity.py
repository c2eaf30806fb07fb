"""The identity of a CI job: a token by which an authority knows which workflow of which repository is at work."""

from __future__ import annotations

from gradatim.errors import EnvironmentLacks, missing_package

_AUDIENCE = "sigstore"


def identity_token() -> str | None:
    """An OpenID Connect token of this job for sigstore; None outside of a CI system that gives one.

    GitHub gives it to jobs with ``permissions: id-token: write``, GitLab to jobs with
    ``id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}``.

    Raises:
        EnvironmentLacks: the CI system gives such tokens, and this job has no right to one; or the package is missing.
    """
    try:
        import id as identities
    except ImportError as error:
        raise missing_package("sigstore", "sign", "Signing in the name of a CI job") from error
    try:
        token: str | None = identities.detect_credential(_AUDIENCE)
        return token
    except identities.GitHubOidcPermissionCredentialError as error:
        raise EnvironmentLacks(
            "This job of GitHub Actions has no right to an identity token, which signs its releases. Give it "
            "`permissions: id-token: write`, in the workflow that calls the kit too. A fork's pull request never gets one."
        ) from error
    except (identities.AmbientCredentialError, identities.IdentityError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise EnvironmentLacks(
            f"The CI system gave this job no identity token ({said}). On GitLab the job needs "
            "`id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}`; else run it again."
        ) from error
