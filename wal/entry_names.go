package wal

import "strconv"

// The words that people see; a number without one is printed as it is.

func (k Kind) String() string {
	switch k {
	case KindTransaction:
		return "transaction"
	case KindTimeline:
		return "begin-timeline"
	case KindRange:
		return "range"
	}
	return strconv.Itoa(int(k))
}

func (a Action) String() string {
	switch a {
	case ActionSet:
		return "set"
	case ActionDelete:
		return "delete"
	}
	return strconv.Itoa(int(a))
}

func (t ExtType) String() string {
	switch t {
	case ExtMessage:
		return "message"
	case ExtMetadata:
		return "metadata"
	case ExtRequestDigest:
		return "request-digest"
	case ExtSource:
		return "source"
	case ExtGroup:
		return "group"
	case ExtOrigin:
		return "origin"
	case ExtReadSet:
		return "read-set"
	case ExtRangeEndHash:
		return "range-end-hash"
	}
	return strconv.Itoa(int(t))
}
