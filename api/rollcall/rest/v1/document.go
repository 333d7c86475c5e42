package restv1

import _ "embed" // for Document

// Document is the OpenAPI document of the HTTP API, in JSON.
//
//go:embed openapi.json
var Document []byte
