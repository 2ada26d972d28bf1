#!/bin/sh
# Installs the Codex that tests/peers/codex.py looks for, into the user's cache. Where npm is
# missing or cannot bring it, it says so, and the tests with it are skipped.
version=0.169.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/debbie-peers/codex-$version
if [ -x "$folder/node_modules/.bin/codex" ]; then
    exit 0
fi
if ! command -v npm > /dev/null; then
    echo "no npm: the tests with a live Codex will be skipped"
    exit 0
fi
mkdir -p "$folder"
npm install --prefix "$folder" --no-fund --no-audit --loglevel=error "@openai/codex@$version" \
    || echo "npm could not bring Codex: the tests with it will be skipped"
