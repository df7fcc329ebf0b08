{{/* Whether the release answers questions itself; otherwise a webhook adds consentd to pods. */}}
{{- define "consentd.isServer" -}}
{{- if ne .Values.mode "injector" }}true{{ end -}}
{{- end -}}

{{/* Where the ledger's NATS of this release is. */}}
{{- define "consentd.natsUrl" -}}
{{- printf "%s://%s-nats.%s.svc:4222" (ternary "nats" "tls" .Values.allow.plaintextLedger) (include "consentd.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* An amount in thousandths, spelt as Kubernetes does (`50m`, `1Gi`) or as consentd does (`1GiB`). */}}
{{- define "consentd.thousandths" -}}
{{- $text := kindIs "float64" . | ternary (printf "%.3f" (float64 .)) (toString .) | trimSuffix "B" -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $factors := dict "m" 1 "" 1e3 "k" 1e6 "K" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "P" 1e18 "E" 1e21
  "Ki" 1024e3 "Mi" 1048576e3 "Gi" 1073741824e3 "Ti" 1099511627776e3 "Pi" 1125899906842624e3 "Ei" 1152921504606846976e3 -}}
{{- mulf (float64 $number) (float64 (index $factors (trimPrefix $number $text))) | printf "%.0f" -}}
{{- end -}}

{{/* An amount in bytes, spelt in either way. */}}
{{- define "consentd.bytes" -}}
{{- divf (include "consentd.thousandths" . | float64) 1000.0 | int64 -}}
{{- end -}}

{{/* A table of the configuration without what is switched off: a key that is `off` is as if it were not there. */}}
{{- define "consentd.on" -}}
{{- $on := dict -}}
{{- range $key, $value := . }}{{ if ne (toString $value) "off" }}{{ $_ := set $on $key $value }}{{ end }}{{ end -}}
{{- toJson $on -}}
{{- end -}}

{{/* A span of time as consentd spells it (`1m30s`), in whole seconds, rounded up. */}}
{{- define "consentd.seconds" -}}
{{- $factors := dict "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $millis := 0 -}}
{{- range regexFindAll "[0-9]+(ms|d|h|m|s)" . -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $millis = add $millis (mul (trimSuffix $unit . | int64) (index $factors $unit)) -}}
{{- end -}}
{{- div (add $millis 999) 1000 -}}
{{- end -}}

{{/* consentd's configuration as JSON: what the values say, and what follows from where it runs. */}}
{{- define "consentd.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $ledger := deepCopy (default dict $config.ledger) -}}
{{- if .Values.nats.enabled -}}
{{- $_ := set $ledger "url" (include "consentd.natsUrl" .) -}}
{{- if not .Values.allow.plaintextLedger -}}{{- $_ := set $ledger "tls_ca_file" "/etc/consentd/keys/nats-ca.crt" -}}{{- end -}}
{{- if not .Values.nats.anonymous -}}{{- $_ := set $ledger "creds_file" "/etc/consentd/keys/nats.creds" -}}{{- end -}}
{{- end -}}
{{- $on := include "consentd.on" $ledger | fromJson -}}
{{- if $on.url -}}
{{- $_ := set $ledger "kind" "nats" -}}
{{- if and .Values.keys.secret (not $on.subject_key_file) -}}
{{- $_ := set $ledger "subject_key_file" "/etc/consentd/keys/subject.key" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "ledger" $ledger -}}
{{- $evidence := deepCopy (default dict $config.evidence) -}}
{{- if and (eq (default "none" $evidence.ship) "nats") .Values.keys.secret (not (hasKey $evidence "key_file")) -}}
{{- /* A random key would go with the pod's volume, and nobody could be found in what it shipped. */ -}}
{{- $_ := set $evidence "key_file" "/etc/consentd/keys/evidence.key" -}}
{{- end -}}
{{- $_ := set $config "evidence" $evidence -}}
{{- if include "consentd.isServer" . -}}
{{- $server := deepCopy (default dict $config.server) -}}
{{- $_ := set $server "tcp" (include "consentd.listen" (list . 7311)) -}}
{{- if ne .Values.certificates.kind "none" -}}
{{- $_ := set $server "tls_cert_file" "/etc/consentd/tls/tls.crt" -}}
{{- $_ := set $server "tls_key_file" "/etc/consentd/tls/tls.key" -}}
{{- end -}}
{{- /* Nodes and proxies learn only after a moment that a pod is going. */ -}}
{{- if not (hasKey $server "drain_delay") -}}{{- $_ := set $server "drain_delay" "5s" -}}{{- end -}}
{{- $_ := set $config "server" $server -}}
{{- $admin := deepCopy (default dict $config.admin) -}}
{{- $_ := set $admin "tcp" (include "consentd.listen" (list . 7312)) -}}
{{- /* Probes and Prometheus come from outside of the pod; the NetworkPolicy says who may. */ -}}
{{- $_ := set $admin "plaintext" true -}}
{{- $_ := set $config "admin" $admin -}}
{{- $_ := set $config "data_dir" "/var/lib/consentd" -}}
{{- if and (eq (default "none" $evidence.ship) "nats") (not (hasKey $evidence "max_unshipped_bytes")) -}}
{{- /* The default may be more than the volume holds, and a volume that is full takes the pod with it. */ -}}
{{- $_ := set $evidence "max_unshipped_bytes" (printf "%dB" (div (include "consentd.bytes" .Values.volume.size | int64) 2)) -}}
{{- end -}}
{{- if and (eq (default "none" $evidence.ship) "nats") (not (hasKey $evidence "max_shipped_bytes")) -}}
{{- $_ := set $evidence "max_shipped_bytes" (printf "%dB" (div (include "consentd.bytes" .Values.volume.size | int64) 4)) -}}
{{- end -}}
{{- if and (eq (default "none" $evidence.ship) "nats") (not (hasKey $evidence "ship_wait")) -}}
{{- /* What has not left then may go with the pod's volume. */ -}}
{{- $_ := set $evidence "ship_wait" "20s" -}}
{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* A value as TOML on one line. Helm's own function gives every number a fraction, which no key takes. */}}
{{- define "consentd.tomlValue" -}}
{{- if kindIs "string" . -}}
{{- toRawJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "consentd.tomlValue" .) }}{{ end -}}
{{- printf "[%s]" (join ", " $items) -}}
{{- else if kindIs "map" . -}}
{{- $fields := list -}}
{{- range $name, $value := . }}{{ $fields = append $fields (printf "%s = %s" $name (include "consentd.tomlValue" $value)) }}{{ end -}}
{{- printf "{ %s }" (join ", " $fields) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Tables of keys as TOML, each key on a line with its section before it. */}}
{{- define "consentd.toml" -}}
{{- range $section, $value := . -}}
{{- if kindIs "map" $value -}}
{{- range $name, $inner := $value }}
{{ $section }}.{{ $name }} = {{ include "consentd.tomlValue" $inner }}
{{- end -}}
{{- else }}
{{ $section }} = {{ include "consentd.tomlValue" $value }}
{{- end -}}
{{- end -}}
{{- end -}}
