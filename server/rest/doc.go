// Package rest answers /api/v1 over HTTP: requests in JSON become calls of the API's own handlers, and their answers
// become JSON (docs/rest.md). The routes are api/rollcall/rest/v1, the JSON is api/rollcall/apijson, and the calls are
// made by package inprocess, so that all that holds for gRPC holds here.
//
// rest.go takes a request in and counts it (calls.go). routes.go finds its route. gate.go and host.go say whom to answer
// at all, as requests can come from a browser that shows somebody else's page (decision 61). body.go reads the request,
// conn.go makes the call, answer.go and errors.go write what became of it.
//
// What a call does and who may make it is not decided here: the handlers of package server say that. Streams are written
// by package sse.
package rest
