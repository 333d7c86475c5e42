// Package openapitest compares JSON with the OpenAPI document of the HTTP API, for tests. It is stricter than the
// document asks readers to be: a property that the document does not name is an error.
//
// Here belongs what looks at answers and requests from outside. It makes no calls.
package openapitest
