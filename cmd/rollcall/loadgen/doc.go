// Package loadgen is the load generator of "rollcall bench": connections, callers, three kinds of load
// (checks, writes, watches), and what it measures (latency histograms, errors by kind).
//
// Flags and printed summaries do not belong here: they are in the command's bench files. Calls are made on
// plain connections and not through package client, whose retries and failover would hide what a load is
// to find.
package loadgen
