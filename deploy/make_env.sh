#!/usr/bin/env bash
# Writes .env beside docker-compose.yaml: .env.example with a random secret in every line that waits for one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -e .env ]]; then
  echo "error: .env exists already, and the data belong to its secrets: nothing was changed" >&2
  exit 1
fi
umask 077
while IFS= read -r line; do
  if [[ $line =~ ^[A-Z0-9_]+=$ ]]; then
    line+=$(openssl rand -hex 24)
  fi
  printf '%s\n' "$line"
done < .env.example > .env.new
mv .env.new .env
echo ".env was written, readable by you only"
