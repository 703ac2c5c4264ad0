#!/bin/sh
# A command that knows nothing of pools gets a browser of its own for as long as it runs:
#
#   sh examples/run-npx.sh [URL]
#
# `poolctl run` tells it in POOL_CONTAINER_URL where the browser is, passes signals and the exit code on, and gives the
# container back however it ends. The package here is a local one; `npx playwright test` works just the same.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
page=${1:-data:text/html,<title>Hello from npx</title>}

exec poolctl run --pool playwright --priority high -- npx --yes --offline --package "$here/node" page-title "$page"
