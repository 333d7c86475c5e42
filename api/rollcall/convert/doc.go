// Package convert turns what the log and the registry file hold (api/rollcall/log/v1) into what the API
// shows (api/rollcall/v1). Every conversion of a record or an event is here, and nothing else: which ones
// a caller may see, and when, is the server's.
package convert
