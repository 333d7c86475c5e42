// Package apijson is the one JSON form of the API (docs/json.md): what the command line prints with -o json, and what
// the HTTP API answers and reads. It writes messages, and reads requests from JSON and from query parameters.
//
// What a request may mean (which names, times and statuses make sense) does not belong here: the server says that.
// Tables and texts for people do not belong here either: that is cmd/rollcall/format.
package apijson
