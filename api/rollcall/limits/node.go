package limits

// NodeNameRule says in words what NodeName allows.
const NodeNameRule = `1 to 63 of a-z, 0-9, "-" and ".", beginning and ending with a letter or digit`

// NodeName reports whether name can be that of a node. It is a label in addresses, logs and command lines,
// so it is simpler than the name of a service.
func NodeName(name string) bool {
	if name == "" || len(name) > MaxNodeNameBytes {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(name)-1:
		default:
			return false
		}
	}
	return true
}
