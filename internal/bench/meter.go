package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Meter reads how many bytes were written to the disk below a directory.
type Meter struct {
	// Device that holds the directory, as the system names it; empty when the
	// directory is on none.
	Device string
	// Source of the figures, in words.
	Source string
	// Filesystem of the directory, such as ext4; empty when not known.
	Filesystem string

	read func() (uint64, error)
}

// NewMeter finds the device of a directory. Its write counter is taken where
// the system has one; else that of this process, which knows nothing of the
// file system's own writes and nothing of the bytes that never left the cache.
func NewMeter(dir string) *Meter {
	m := &Meter{Filesystem: filesystem(dir), Source: "not measured: the system counts neither for the device nor for the process",
		read: func() (uint64, error) { return 0, nil }}
	if stat, name, ok := deviceStat(dir); ok {
		m.Device, m.Source = name, stat+" (all writes to "+name+", this process's and others')"
		m.read = func() (uint64, error) { return sectorsWritten(stat) }
		return m
	}
	if _, err := processWritten(); err == nil {
		m.Source = processIO + " (writes of this process; the device's own counter cannot be read)"
		m.read = processWritten
	}
	return m
}

// Bytes written so far. Only differences mean anything.
func (m *Meter) Bytes() (uint64, error) { return m.read() }

const (
	processIO   = "/proc/self/io"
	sectorBytes = 512 // of /sys/block, whatever the device's own are
)

// sectorsWritten reads the seventh figure of a block device's stat file.
func sectorsWritten(stat string) (uint64, error) {
	b, err := os.ReadFile(stat)
	if err != nil {
		return 0, fmt.Errorf("bench: read the device's counters: %w", err)
	}
	fields := bytes.Fields(b)
	if len(fields) < 7 {
		return 0, fmt.Errorf("bench: %s has %d figures, want 7 at least", stat, len(fields))
	}
	n, err := strconv.ParseUint(string(fields[6]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bench: %s: %w", stat, err)
	}
	return n * sectorBytes, nil
}

func processWritten() (uint64, error) {
	b, err := os.ReadFile(processIO)
	if err != nil {
		return 0, fmt.Errorf("bench: read the process's counters: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("bench: %s has no write_bytes", processIO)
}
