package limits

import "unicode/utf8"

// Reason says what is wrong with the reason of a change; nil if nothing is. It is text of several lines in
// any language: only control characters other than line feed and tab are refused. Who prints it escapes
// what does not show: see Shows.
func Reason(reason string) *Error {
	if len(reason) <= MaxReasonBytes && isPlain(reason) {
		return nil
	}
	if err := size(reason, MaxReasonBytes); err != nil {
		return err
	}
	for i, r := range reason {
		if isControl(r) && r != '\n' && r != '\t' {
			return &Error{Problem: BadCharacter, Text: reason, Rune: r, Offset: i}
		}
	}
	return nil
}

// Actor says what is wrong with the name that a caller gives itself; nil if nothing is.
func Actor(actor string) *Error { return line(actor, MaxActorBytes) }

// RequestID says what is wrong with a request id; nil if nothing is.
func RequestID(id string) *Error { return line(id, MaxRequestIDBytes) }

// LeaseID says what is wrong with the id of a lease; nil if nothing is.
func LeaseID(id string) *Error { return line(id, MaxLeaseIDBytes) }

// MemberField says what is wrong with the version or the directory id of a member; nil if nothing is.
func MemberField(text string) *Error { return line(text, MaxMemberFieldBytes) }

// Address says what is wrong with the characters of a member's address; nil if nothing is.
func Address(address string) *Error { return line(address, MaxAddressBytes) }

// Peer says what is wrong with the address that a caller called from; nil if nothing is. No caller chose
// it, so only its size and encoding count.
func Peer(address string) *Error { return size(address, MaxActorBytes) }

// line is for texts that tell one thing from another: one line of characters that show, and spaces, in
// Normalization Form C, so that two that look the same are the same. It may be empty.
func line(text string, limit int) *Error {
	if len(text) <= limit && isPlain(text) {
		return nil
	}
	if err := size(text, limit); err != nil {
		return err
	}
	for i, r := range text {
		if r != ' ' && !Shows(r) {
			return &Error{Problem: BadCharacter, Text: text, Rune: r, Offset: i}
		}
	}
	return normalized(text)
}

func size(text string, limit int) *Error {
	switch {
	case len(text) > limit:
		return tooLong(text, limit)
	case !utf8.ValidString(text):
		return &Error{Problem: NotUTF8, Text: text}
	}
	return nil
}

// isPlain reports whether text is ASCII without control characters.
func isPlain(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// Shows reports whether r is a letter, mark, number, punctuation or symbol, and shows when it is printed. A
// space does not.
func Shows(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' < r && r < 0x7f
	}
	return contains(shown, r)
}

// isControl is Unicode's category Cc, which never changes.
func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }
