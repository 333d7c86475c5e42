// Package restv1 is the API of package rollcallv1 over HTTP: the routes of api/rest.yaml, and the OpenAPI document that
// describes them. All of it is generated (make proto).
//
// Here belongs what the routes are. What a node does with a request (headers, errors, who may ask) is in server/rest,
// and the JSON is apijson's.
package restv1
