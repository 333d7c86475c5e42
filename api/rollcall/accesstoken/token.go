package accesstoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
)

// The parts of a token's text.
const (
	Prefix       = "rct_"
	IDLength     = 16
	SecretLength = 43
	Length       = len(Prefix) + IDLength + 1 + SecretLength
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// What may be wrong with a text. None of the errors holds any of the text: it may be a secret.
var (
	ErrPrefix    = errors.New(`the token does not begin with "rct_": it is not one of Rollcall's`)
	ErrLength    = errors.New("the token does not have 64 characters: it was cut, or something was added")
	ErrCharacter = errors.New("the token has a character that no token has: it was not copied exactly")
	ErrChecksum  = errors.New("the token's id does not fit its secret: it was not copied exactly")
)

// Token is the text of a token. What prints a Token shows its id alone, also where it is a field of something else.
// The zero value is no token.
type Token struct {
	text *string // a pointer: fmt prints the text of fields that are not exported, but follows no pointer
	sum  [sha256.Size]byte
}

// New makes a token from the system's random numbers.
func New() Token {
	secret := make([]byte, 0, SecretLength)
	// A byte of 248 and above would make the first characters of the alphabet likelier than others.
	const fair = byte(256 / len(alphabet) * len(alphabet))
	for random := make([]byte, SecretLength); ; {
		rand.Read(random) // never fails
		for _, b := range random {
			if b >= fair {
				continue
			}
			if secret = append(secret, alphabet[int(b)%len(alphabet)]); len(secret) == SecretLength {
				sum := sha256.Sum256(secret)
				text := Prefix + ID(sum) + "_" + string(secret)
				return Token{&text, sum}
			}
		}
	}
}

// Parse reads a token's whole text. Its error is one of this package's.
func Parse(text string) (Token, error) {
	sum, err := Check(text)
	if err != nil {
		return Token{}, err
	}
	return Token{&text, sum}, nil
}

// Check is Parse for who needs the hash of the secret alone. It allocates nothing.
func Check(text string) (secretSHA256 [sha256.Size]byte, err error) {
	const idEnd = len(Prefix) + IDLength
	switch {
	case len(text) < len(Prefix) || text[:len(Prefix)] != Prefix:
		return secretSHA256, ErrPrefix
	case len(text) != Length:
		return secretSHA256, ErrLength
	case text[idEnd] != '_':
		return secretSHA256, ErrCharacter
	}
	for i := len(Prefix); i < idEnd; i++ {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return secretSHA256, ErrCharacter
		}
	}
	var secret [SecretLength]byte
	for i := range secret {
		c := text[idEnd+1+i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return secretSHA256, ErrCharacter
		}
		secret[i] = c
	}
	sum := sha256.Sum256(secret[:])
	var id [IDLength]byte
	hex.Encode(id[:], sum[:IDLength/2])
	if string(id[:]) != text[len(Prefix):idEnd] {
		return secretSHA256, ErrChecksum
	}
	return sum, nil
}

// ID returns the id of the token whose secret has this SHA-256.
func ID(secretSHA256 [sha256.Size]byte) string { return hex.EncodeToString(secretSHA256[:IDLength/2]) }

// Text returns the token's whole text, its secret too: for its holder's eyes and for the wire. "" of the zero value.
func (t Token) Text() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// ID returns the token's id, which gives nothing away; "" of the zero value.
func (t Token) ID() string {
	if t.text == nil {
		return ""
	}
	return ID(t.sum)
}

// IsZero says that t is no token.
func (t Token) IsZero() bool { return t.text == nil }

// SHA256 returns the hash of the secret's characters: what a cluster stores.
func (t Token) SHA256() [sha256.Size]byte { return t.sum }

// String returns the token without its secret.
func (t Token) String() string { return Prefix + t.ID() + "_…" }

// GoString returns the token without its secret.
func (t Token) GoString() string { return t.String() }

// LogValue returns the token without its secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
