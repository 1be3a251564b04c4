#!/bin/sh
# mpirun runs this in the place of ssh, once per host: AGENT HOST COMMAND... The host is an invented
# name that stands for a Spark task, and the command starts the daemon that is to run there. It is
# left in a file; the task that started mpirun sends it to the other one.
host=$1
shift
printf '%s' "$*" >"$BOBBIN_SPOOL/$host.part" && mv "$BOBBIN_SPOOL/$host.part" "$BOBBIN_SPOOL/$host"
