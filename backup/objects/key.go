package objects

import (
	"fmt"
	"strings"
)

// Limits of keys. With them a key below any prefix of 500 bytes fits the 1,024
// bytes of S3, and its longest part, with what file systems add, the 255 of a name.
const (
	MaxKey   = 500 // bytes
	MaxPart  = 200 // bytes between two slashes
	MaxParts = 16
)

// CheckKey returns nil if key is a valid key, otherwise an ErrKey that says why
// it is not.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: it has %d bytes, not 1 to %d", ErrKey, len(key), MaxKey)
	}
	parts := 0
	for part := range strings.SplitSeq(key, "/") {
		if parts++; parts > MaxParts {
			return fmt.Errorf("%w: it has more than %d parts", ErrKey, MaxParts)
		}
		if !isPart(part) {
			return fmt.Errorf("%w: its part %q is not of 1 to %d bytes A-Z a-z 0-9 . _ - that begin with a letter or digit",
				ErrKey, clip(part), MaxPart)
		}
	}
	return nil
}

// CheckPrefix returns nil if some valid key begins with prefix.
func CheckPrefix(prefix string) error {
	if prefix == "" || CheckKey(prefix) == nil {
		return nil
	}
	// Only the end can be that of a longer key.
	if err := CheckKey(prefix + "0"); err != nil {
		return fmt.Errorf("no key begins so: %w", err)
	}
	return nil
}

func isPart(part string) bool {
	if len(part) == 0 || len(part) > MaxPart || !isAlphanumeric(part[0]) {
		return false
	}
	for i := range len(part) {
		if c := part[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// clip is what a message shows of a part that may be of any length.
func clip(part string) string { return part[:min(len(part), MaxPart)] }
