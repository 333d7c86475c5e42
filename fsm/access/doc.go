// Package access says what an identity may do: verbs, roles, and what grants of roles over patterns come to.
//
// It holds no state. What identities and roles there are is replicated: fsm/kind_token.go, kind_role.go, kind_grants.go
// and kind_auth.go.
package access
