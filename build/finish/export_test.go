package finish

// SubjectHash is subjectHash.
func SubjectHash(der []byte) (uint32, error) { return subjectHash(der) }

// ParseSysusers is parseSysusers, with each line as text.
func ParseSysusers(text, file string) (int, error) {
	lines, err := parseSysusers(text, file)
	return len(lines), err
}

// ParsePAMProfile is parsePAMProfile.
func ParsePAMProfile(text string) error {
	_, err := parsePAMProfile(text)
	return err
}

// Quote is quote.
func Quote(value string) string { return quote(value) }
