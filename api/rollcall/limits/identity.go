package limits

import "strings"

// Prefixes of identities: how a caller proved who it is.
const (
	CertIdentity  = "cert:"
	TokenIdentity = "token:"
	// AnonymousIdentity is who shows no identity.
	AnonymousIdentity = "anonymous"
)

// IsProven says that a text looks like the name of a caller that proved who it is, or of a node. Nobody may merely say
// that it is one.
func IsProven(actor string) bool {
	for _, prefix := range [...]string{CertIdentity, TokenIdentity, "static:", "node:", "node "} {
		if strings.HasPrefix(actor, prefix) {
			return true
		}
	}
	return false
}

// TokenName says what is wrong with the name of a token; nil if nothing is.
func TokenName(name string) *Error { return characters(name, MaxTokenNameBytes) }

// RoleName says what is wrong with the name of a role; nil if nothing is.
func RoleName(name string) *Error { return characters(name, MaxRoleNameBytes) }

// Description says what is wrong with the description of a token; nil if nothing is.
func Description(text string) *Error { return line(text, MaxDescriptionBytes) }

// certName says what is wrong with the name in a certificate: a SPIFFE id, a DNS name, or a common name, which may hold
// spaces.
func certName(identity, name string) *Error {
	switch {
	case name == "":
		return &Error{Problem: NotIdentity, Text: identity}
	case strings.TrimSpace(name) != name:
		return &Error{Problem: BadCharacter, Text: identity, Rune: ' ', Offset: strings.IndexByte(identity, ' ')}
	}
	return line(identity, MaxIdentityBytes)
}

// Identity says what is wrong with an identity that grants can be given to; nil if nothing is. It is "cert:" or "token:"
// and a name.
func Identity(identity string) *Error {
	if len(identity) > MaxIdentityBytes {
		return tooLong(identity, MaxIdentityBytes)
	}
	for _, prefix := range [...]string{CertIdentity, TokenIdentity} {
		if name, ok := strings.CutPrefix(identity, prefix); ok {
			if prefix == TokenIdentity {
				return TokenName(name)
			}
			return certName(identity, name)
		}
	}
	return &Error{Problem: NotIdentity, Text: identity}
}
