package tlsport

import "fmt"

// Mode says whether a port speaks TLS. The zero value is Off.
type Mode int

const (
	// Off: plain text only.
	Off Mode = iota
	// Permissive: TLS and plain text, as each caller begins. Members are dialed with TLS first, then in plain text.
	// It is for the time of a change from Off to Required or back.
	Permissive
	// Required: TLS only.
	Required
)

var modes = []string{Off: "off", Permissive: "permissive", Required: "required"}

// Modes are the names of all modes.
func Modes() []string { return append([]string(nil), modes...) }

// ParseMode reads the name of a mode.
func ParseMode(name string) (Mode, error) {
	for m, n := range modes {
		if n == name {
			return Mode(m), nil
		}
	}
	return Off, fmt.Errorf("%q is not off, permissive or required", name)
}

// String implements fmt.Stringer.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modes) {
		return fmt.Sprintf("mode %d", int(m))
	}
	return modes[m]
}
