package signing

// ParseRequests is parseRequests.
func ParseRequests(text []byte) ([]Request, error) { return parseRequests(text) }
