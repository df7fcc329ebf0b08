{{/* What whoever resolves names must reach: the cluster's DNS, wherever it runs. */}}
{{- define "consentd.dnsEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* A port of servers whose addresses are nowhere to be read. */}}
{{- define "consentd.portEgress" -}}
- ports:
    - {port: {{ . }}, protocol: TCP}
{{- end -}}
