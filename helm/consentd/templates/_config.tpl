{{/* Whether the release answers questions itself; otherwise a webhook adds consentd to pods. */}}
{{- define "consentd.isServer" -}}
{{- if ne .Values.mode "injector" }}true{{ end -}}
{{- end -}}

{{/* Where the ledger's NATS of this release is. */}}
{{- define "consentd.natsUrl" -}}
{{- printf "%s://%s-nats.%s.svc:4222" (ternary "nats" "tls" .Values.ledger.plaintext) (include "consentd.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* consentd's configuration as JSON: what the values say, and what follows from where it runs. */}}
{{- define "consentd.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $ledger := deepCopy (default dict $config.ledger) -}}
{{- if .Values.nats.enabled -}}
{{- $_ := set $ledger "url" (include "consentd.natsUrl" .) -}}
{{- if not .Values.ledger.plaintext -}}{{- $_ := set $ledger "tls_ca_file" "/etc/consentd/keys/nats-ca.crt" -}}{{- end -}}
{{- if not .Values.nats.anonymous -}}{{- $_ := set $ledger "creds_file" "/etc/consentd/keys/nats.creds" -}}{{- end -}}
{{- end -}}
{{- if and $ledger.url (ne $ledger.url "off") -}}
{{- $_ := set $ledger "kind" "nats" -}}
{{- if and .Values.keys.secret (not (hasKey $ledger "subject_key_file")) -}}
{{- $_ := set $ledger "subject_key_file" "/etc/consentd/keys/subject.key" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "ledger" $ledger -}}
{{- if include "consentd.isServer" . -}}
{{- $server := deepCopy (default dict $config.server) -}}
{{- $_ := set $server "tcp" (include "consentd.listen" (list . 7311)) -}}
{{- if ne .Values.certificates.kind "none" -}}
{{- $_ := set $server "tls_cert_file" "/etc/consentd/tls/tls.crt" -}}
{{- $_ := set $server "tls_key_file" "/etc/consentd/tls/tls.key" -}}
{{- end -}}
{{- $_ := set $config "server" $server -}}
{{- $admin := deepCopy (default dict $config.admin) -}}
{{- $_ := set $admin "tcp" (include "consentd.listen" (list . 7312)) -}}
{{- /* Probes and Prometheus come from outside of the pod; the NetworkPolicy says who may. */ -}}
{{- $_ := set $admin "plaintext" true -}}
{{- $_ := set $config "admin" $admin -}}
{{- $_ := set $config "data_dir" "/var/lib/consentd" -}}
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
