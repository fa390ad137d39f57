#!/bin/sh
# Makes the tables in database otel; the image's own start-up runs SQL files in database default.
set -e
for file in tables views; do
    clickhouse-client --host 127.0.0.1 --password "$CLICKHOUSE_PASSWORD" --database otel --multiquery <"/schema/$file.sql"
done
