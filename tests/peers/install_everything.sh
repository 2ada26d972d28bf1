#!/bin/sh
# Installs the reference MCP server that tests/peers/everything.py looks for, into the user's cache.
# Where npm is missing or cannot bring it, it says so, and the tests with it are skipped.
version=2026.8.31
folder=${XDG_CACHE_HOME:-$HOME/.cache}/debbie-peers/everything-$version
if [ -x "$folder/node_modules/.bin/mcp-server-everything" ]; then
    exit 0
fi
if ! command -v npm > /dev/null; then
    echo "no npm: the tests with the reference MCP server will be skipped"
    exit 0
fi
mkdir -p "$folder"
npm install --prefix "$folder" --no-fund --no-audit --loglevel=error \
    "@modelcontextprotocol/server-everything@$version" \
    || echo "npm could not bring the reference MCP server: the tests with it will be skipped"
